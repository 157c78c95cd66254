"""mathtune's own attention functions, for training and generation; importing one imports torch."""
