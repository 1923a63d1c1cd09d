"""The control loop: poll, plan, transfer, report."""
