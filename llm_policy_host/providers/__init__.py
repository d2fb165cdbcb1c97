"""Provider adapters: one dialect a file, all leaves behind the `Provider` port."""
