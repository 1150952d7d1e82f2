"""The warden: keeps one node at what it should be. Desired state in, differences out, each concern in a task of its own."""

from scopeward.policy_files import Bundle, read_policy
from scopeward.warden.policy import PolicyError, Prepared, checked, compile_policy, require_fit
from scopeward.warden.warden import Warden

__all__ = ["Bundle", "PolicyError", "Prepared", "Warden", "checked", "compile_policy", "read_policy", "require_fit"]
