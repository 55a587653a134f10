-- Healthy: Ready. Degraded: only a person can fix it. Progressing: not checked yet, or the operator retries. Suspended: spec.suspend.
if obj.spec ~= nil and obj.spec.suspend then
  return {status = "Suspended", message = "Checks are disabled, because spec.suspend is true."}
end
if obj.status == nil or obj.status.conditions == nil
    or obj.status.observedGeneration ~= obj.metadata.generation then
  return {status = "Progressing", message = "not checked yet"}
end
local found = {}
for _, condition in ipairs(obj.status.conditions) do
  found[condition.type] = condition
end
if found.Stalled ~= nil and found.Stalled.status == "True" then
  return {status = "Degraded", message = found.Stalled.message or ""}
end
if found.Ready ~= nil and found.Ready.status == "True" then
  return {status = "Healthy", message = found.Ready.message or ""}
end
return {status = "Progressing", message = found.Ready ~= nil and found.Ready.message or "not checked yet"}
