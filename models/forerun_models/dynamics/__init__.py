"""World models: what comes next, given a history and an action."""
