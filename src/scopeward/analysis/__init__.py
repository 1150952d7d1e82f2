"""What a policy means: its checks, the gateway model it resolves to, and its own answer to a call."""
