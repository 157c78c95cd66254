"""Trainings on several devices: what each holds, and what they send each other."""
