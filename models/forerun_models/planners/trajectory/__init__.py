"""Planning ahead: a whole trajectory through the learned model, optimised once and followed by feedback.

motion.py     the learned model as a function of state and command alone
costs.py      what a trajectory costs
shooting.py   the best trajectory, by multiple shooting
feedback.py   the gains that follow it, and hold its end
rehearsal.py  which trajectory can be followed
course.py     the trajectory that was chosen
plan.py       all of it, from a recipe
tracker.py    what runs on the robot, as one ONNX graph
"""
