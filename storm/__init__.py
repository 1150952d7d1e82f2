"""The fault storm: parts of a running node fail, one after the other, while callers of every kind call, and each answer is judged."""
