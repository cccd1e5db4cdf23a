"""What is learned: LightningModules for classification, distillation, self-training and segmentation."""
