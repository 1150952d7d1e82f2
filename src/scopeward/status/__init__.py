"""What a node says of itself: written by the warden, read by ``scopeward status`` and shown as metrics."""
