"""Small models: every order of steps of the package's cores, up to a stated size."""
