"""What proves a runtime, proved itself."""
