"""What each verb of ``python -m train`` takes; torch is imported once a verb runs."""
