"""The story that Scopeward tells of itself: a provider, an API, a gateway with a policy between them, and real calls."""
