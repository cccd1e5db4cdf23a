"""What is worth knowing before a distillation."""
