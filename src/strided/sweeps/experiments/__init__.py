"""What experiments of several runs show beside accuracy: a module for each question.

Each has `section(folder, jobs)`: figures into the folder of the sweep, and words and tables as
HTML, of jobs that have finished and kept their best checkpoint.
"""
