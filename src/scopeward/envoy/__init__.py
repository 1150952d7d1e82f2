"""The binary and its life: bootstrap, validate, publish, read back, stop."""
