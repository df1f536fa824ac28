"""What tests share: studies at their size, evidence of a run, servers that can be killed. No tests."""
