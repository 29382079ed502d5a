"""From trials to a trained model: windows, the trainer, checkpoints, fine-tuning."""
