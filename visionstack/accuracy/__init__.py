"""How well a model's answers fit labels that people made."""
