"""Agents that learn in environments: one interface, one file an agent, one loop for all."""
