"""What one trial does: data, config, weights, training, evaluation. Torch and mmseg live here, imported lazily."""
