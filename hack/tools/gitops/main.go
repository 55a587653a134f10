// Command gitops tests what Argo CD and Flux are told about our kinds, with the engines that these use:
//
//	gitops ARGOCD_FOLDER FLUX_FILE
//
// ARGOCD_FOLDER has the layout of Argo CD's own resource_customizations: GROUP/KIND/health.lua with health_test.yaml, and
// actions/ with action_test.yaml. FLUX_FILE has healthCheckExprs; the same inputs are evaluated with them.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/google/cel-go/cel"
	lua "github.com/yuin/gopher-lua"
	"sigs.k8s.io/yaml"
)

type object = map[string]any

// healthTest is a row of health_test.yaml. Flux is ours: what Flux must conclude of the same object.
type healthTest struct {
	InputPath    string
	HealthStatus struct{ Status, Message string }
	Flux         string
}

// actionTest is a row of action_test.yaml.
type actionTest struct {
	Action, InputPath, ExpectedOutputPath string
}

type discoveryTest struct {
	InputPath string
	Result    []struct {
		Name     string
		Disabled bool
	}
}

type expression struct {
	Kind, InProgress, Failed, Current string
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: gitops ARGOCD_FOLDER FLUX_FILE")
		os.Exit(2)
	}
	count, err := run(os.Args[1], os.Args[2])
	if err == nil && count == 0 {
		err = errors.New("there is no test")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
	fmt.Fprintln(os.Stderr, count, "GitOps tests passed")
}

func run(argocd, flux string) (int, error) {
	var exprs struct{ Spec struct{ HealthCheckExprs []expression } }
	if err := read(flux, &exprs); err != nil {
		return 0, err
	}
	folders, err := filepath.Glob(filepath.Join(argocd, "*", "*"))
	if err != nil {
		return 0, err
	}
	count := 0
	var failures []error
	for _, folder := range folders {
		done, errs := kind(folder, exprs.Spec.HealthCheckExprs)
		count += done
		failures = append(failures, errs...)
	}
	return count, errors.Join(failures...)
}

// kind runs the tests of one kind.
func kind(folder string, exprs []expression) (count int, failures []error) {
	fail := func(path, format string, a ...any) {
		failures = append(failures, fmt.Errorf("%s %s: %s", filepath.Base(folder), path, fmt.Sprintf(format, a...)))
	}
	var health struct{ Tests []healthTest }
	if err := read(filepath.Join(folder, "health_test.yaml"), &health); err != nil {
		fail("health_test.yaml", "%v", err)
	}
	for _, test := range health.Tests {
		count++
		var obj object
		if err := read(filepath.Join(folder, test.InputPath), &obj); err != nil {
			fail(test.InputPath, "%v", err)
			continue
		}
		got, err := evaluate(filepath.Join(folder, "health.lua"), obj)
		want := object{"status": test.HealthStatus.Status, "message": test.HealthStatus.Message}
		if err != nil || !reflect.DeepEqual(got, want) {
			fail(test.InputPath, "Argo CD: got %v %v, want %v", got, err, want)
		}
		if verdict, err := conclude(exprs, filepath.Base(folder), obj); err != nil || verdict != test.Flux {
			fail(test.InputPath, "Flux: got %v %v, want %v", verdict, err, test.Flux)
		}
	}
	var actions struct {
		ActionTests    []actionTest
		DiscoveryTests []discoveryTest
	}
	if err := read(filepath.Join(folder, "actions", "action_test.yaml"), &actions); err != nil {
		fail("action_test.yaml", "%v", err)
	}
	for _, test := range actions.ActionTests {
		count++
		if err := action(filepath.Join(folder, "actions"), test); err != nil {
			fail(test.Action, "%s: %v", test.InputPath, err)
		}
	}
	for _, test := range actions.DiscoveryTests {
		count++
		var obj object
		if err := read(filepath.Join(folder, "actions", test.InputPath), &obj); err != nil {
			fail(test.InputPath, "%v", err)
			continue
		}
		want := object{}
		for _, result := range test.Result {
			want[result.Name] = object{"disabled": result.Disabled}
		}
		got, err := evaluate(filepath.Join(folder, "actions", "discovery.lua"), obj)
		if err != nil || !reflect.DeepEqual(got, want) {
			fail(test.InputPath, "discovery: got %v %v, want %v", got, err, want)
		}
	}
	return count, failures
}

// action compares what an action makes of an object. The time that it writes is not compared.
func action(folder string, test actionTest) error {
	var before, want object
	if err := errors.Join(read(filepath.Join(folder, test.InputPath), &before),
		read(filepath.Join(folder, test.ExpectedOutputPath), &want)); err != nil {
		return err
	}
	got, err := evaluate(filepath.Join(folder, test.Action, "action.lua"), before)
	if err != nil {
		return err
	}
	const path = "appconnections.dev/requestedAt"
	if annotations, ok := got["metadata"].(object)["annotations"].(object); ok && annotations[path] != nil {
		if annotations[path] == "" {
			return errors.New("the time is empty")
		}
		annotations[path] = "NOW"
	}
	if !reflect.DeepEqual(got, want) {
		return fmt.Errorf("got %v, want %v", got, want)
	}
	return nil
}

// evaluate runs a script with the libraries that Argo CD opens by default, and `os` with its clock alone.
func evaluate(script string, obj object) (object, error) {
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for name, open := range map[string]lua.LGFunction{
		lua.LoadLibName: lua.OpenPackage, lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable,
	} {
		state.Push(state.NewFunction(open))
		state.Push(lua.LString(name))
		state.Call(1, 0)
	}
	full := lua.NewState()
	defer full.Close()
	clock := state.NewTable()
	for _, name := range []string{"date", "time"} {
		clock.RawSetString(name, full.GetField(full.GetGlobal("os"), name))
	}
	state.SetGlobal("os", clock)
	state.SetGlobal("obj", toLua(state, obj))
	if err := state.DoFile(script); err != nil {
		return nil, err
	}
	got, ok := fromLua(state.Get(-1)).(object)
	if !ok {
		return nil, errors.New("the script returns no table")
	}
	return got, nil
}

func toLua(state *lua.LState, value any) lua.LValue {
	switch value := value.(type) {
	case object:
		table := state.NewTable()
		for key, item := range value {
			table.RawSetString(key, toLua(state, item))
		}
		return table
	case []any:
		table := state.NewTable()
		for _, item := range value {
			table.Append(toLua(state, item))
		}
		return table
	case string:
		return lua.LString(value)
	case bool:
		return lua.LBool(value)
	case float64:
		return lua.LNumber(value)
	default:
		return lua.LNil
	}
}

func fromLua(value lua.LValue) any {
	switch value := value.(type) {
	case *lua.LTable:
		if value.Len() > 0 {
			var items []any
			value.ForEach(func(_, item lua.LValue) { items = append(items, fromLua(item)) })
			return items
		}
		fields := object{}
		value.ForEach(func(key, item lua.LValue) { fields[key.String()] = fromLua(item) })
		return fields
	case lua.LString:
		return string(value)
	case lua.LBool:
		return bool(value)
	case lua.LNumber:
		return float64(value)
	default:
		return nil
	}
}

// conclude is what Flux makes of an object: it asks for a newer generation first, then for the expressions in this order.
func conclude(exprs []expression, kind string, obj object) (string, error) {
	metadata, status := obj["metadata"].(object), object{}
	if found, ok := obj["status"].(object); ok {
		status = found
	}
	if observed, ok := status["observedGeneration"]; ok && observed != metadata["generation"] {
		return "InProgress", nil
	}
	for _, expr := range exprs {
		if expr.Kind != kind {
			continue
		}
		for _, step := range []struct{ name, text string }{
			{"InProgress", expr.InProgress}, {"Failed", expr.Failed}, {"Current", expr.Current},
		} {
			if step.text == "" {
				continue
			}
			holds, err := celHolds(step.text, obj)
			if err != nil {
				return "", fmt.Errorf("%s: %w", step.name, err)
			}
			if holds {
				return step.name, nil
			}
		}
		return "InProgress", nil
	}
	return "", errors.New("there are no expressions for this kind")
}

func celHolds(text string, obj object) (bool, error) {
	names := []string{"apiVersion", "kind", "metadata", "spec", "status"}
	var options []cel.EnvOption
	for _, name := range names {
		options = append(options, cel.Variable(name, cel.DynType))
	}
	env, err := cel.NewEnv(options...)
	if err != nil {
		return false, err
	}
	ast, issues := env.Compile(text)
	if issues.Err() != nil {
		return false, issues.Err()
	}
	program, err := env.Program(ast)
	if err != nil {
		return false, err
	}
	value, _, err := program.Eval(obj)
	if err != nil {
		return false, err
	}
	holds, ok := value.Value().(bool)
	if !ok {
		return false, errors.New("it is no condition")
	}
	return holds, nil
}

// read reads YAML, with numbers as Kubernetes' JSON has them.
func read(path string, into any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	text, err = yaml.YAMLToJSON(text)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return json.NewDecoder(strings.NewReader(string(text))).Decode(into)
}
