"""Top floor of Forerun: bags, nodes, command line and reports."""
