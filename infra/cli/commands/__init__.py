"""The words of the command line: names, options and help of each command. What a command does is one folder up.

Nothing is imported here at the top that takes time, so that help and completion are quick.
"""
