-- Requests a check now. The operator compares the value; any new one will do.
if obj.metadata.annotations == nil then
  obj.metadata.annotations = {}
end
obj.metadata.annotations["appconnections.dev/requestedAt"] = os.date("!%Y-%m-%dT%H:%M:%SZ")
return obj
