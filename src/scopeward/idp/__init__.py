"""What is fetched from identity providers, by rules that hold for all of them: metadata (discovery) and signing keys."""
