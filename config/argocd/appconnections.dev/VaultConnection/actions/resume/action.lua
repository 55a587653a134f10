-- Starts checking again.
obj.spec.suspend = false
return obj
