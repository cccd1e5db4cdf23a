"""What it is learned from: LightningDataModules for labelled, unlabelled and pseudo-labelled images."""
