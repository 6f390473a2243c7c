"""Who is who and who may do what: certificates renewed while the server runs, and the guard of the admin methods."""
