"""Calls of the backend contract with a model axis, for tests."""
