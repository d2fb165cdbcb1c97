"""Runs played out under virtual time: a policy's failure plan against providers that are written down."""
