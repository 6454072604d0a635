"""The simulator: the engine's own parts on ports in memory, a fake clock, and faults chosen by a seed.

world       the steps: who runs, what goes wrong, when the faults stop
actors      the processes, each around a real component (intake, dispatcher, executor) or a follower
puppet      how a process stands still in the middle of a call
faults      the points before and after each port call
people      the commands, and the changes behind Haulage's back
mail        deliveries: repeated, reordered, late
definition  what the operations do, and to which items what happens
planner     the plan step
history     the promises, checked at every commit
planted     mistakes that must be found
"""
