"""What experiments of several runs show besides accuracy: a module for each question.

Each has `section(folder, jobs)`, for jobs that have finished and kept their best checkpoint. It
writes figures into the folder of the sweep, and returns words and tables as HTML.
"""
