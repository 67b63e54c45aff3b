"""Optimizers, learning rate schedules, and methods that change which weights train."""
