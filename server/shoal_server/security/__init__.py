"""Who is who and who may do what: certificates renewed while the server runs, and the guard of the admin methods."""

from shoal_server.security.guard import guarded, without_admin
from shoal_server.security.material import Material, TlsFiles, UnusableMaterial, read_material
from shoal_server.security.policy import AdminPolicy, is_admin, well_formed
from shoal_server.security.renewer import Renewer

__all__ = [
    "AdminPolicy",
    "Material",
    "Renewer",
    "TlsFiles",
    "UnusableMaterial",
    "guarded",
    "is_admin",
    "read_material",
    "well_formed",
    "without_admin",
]
