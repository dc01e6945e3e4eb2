"""Faults injected into real runs: what is left is the undisturbed run's, or was refused in a line.

make faults, or PYTHONPATH=tests python -m faults --faults 150 --seed 1

`targets` has the commands that are disturbed and what may not differ in what they leave, `kinds`
the faults, one function each, `host` what this machine lets them do, `trial` the judgement:
while the fault lasts, a command ends with the undisturbed bytes or with one clear line and a
status that is not 0; without it, the same command ends with the undisturbed bytes.
"""
