-- Stops checking, and revokes the operator's login.
obj.spec.suspend = true
return obj
