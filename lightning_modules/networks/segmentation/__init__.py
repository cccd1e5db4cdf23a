"""Networks that give logits for every pixel."""
