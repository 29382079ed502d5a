"""What `forerun bench` measures, one file a subject. Nothing here is needed to run a robot."""
