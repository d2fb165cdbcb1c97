"""The GenVM overlay over strict fakes of the Rust side (spec 4)."""
