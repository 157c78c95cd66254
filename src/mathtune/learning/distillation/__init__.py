"""On-policy distillation: a model's own answers, corrected token by token by a teacher."""
