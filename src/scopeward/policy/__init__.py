"""The policy language: text with its places → a frozen policy, or what is wrong with it."""
