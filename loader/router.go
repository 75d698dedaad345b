package loader

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// A Router stands for one of several lists of modules, by the task of the call:
// a query's or a document's. Each route is opened as a model of its own, with
// the modules before and after the Router; what two routes share is opened once.
//
// Source: sentence_transformers/base/modules/router.py of release 6.2.

const maxRoutes = 16

// router is a router_config.json (config.json before 5.4).
type router struct {
	names    []string // in the order of the file
	routes   map[string][]moduleRef
	fallback string            // "" for none: a call must name its task
	mapped   map[string]string // from a task, "" for any, to a route
}

// routeKey is the spelling of a pair of task and modality as a Python tuple.
var routeKey = regexp.MustCompile(`^\(\s*(None|'[^'\\]*'|"[^"\\]*")\s*,\s*(None|'[^'\\]*'|"[^"\\]*"|\([^()]*\))\s*\)$`)

// readRouter reads the routes of the Router in a folder.
func readRouter(root, dir string) (*router, error) {
	c, err := configWithin(root, join(dir, "router_config.json"))
	if errors.Is(err, ErrNotFound) {
		c, err = configWithin(root, join(dir, "config.json"))
	}
	if err != nil {
		return nil, err
	}
	return parseRouter(c, dir)
}

func parseRouter(c *Config, dir string) (*router, error) {
	types, err := c.Object("types")
	if err != nil {
		return nil, err
	}
	structure, err := c.Object("structure")
	if err != nil {
		return nil, err
	}
	parameters, err := c.Object("parameters")
	if err != nil {
		return nil, err
	}
	r := &router{names: structure.Keys(), routes: make(map[string][]moduleRef), mapped: make(map[string]string)}
	if len(r.names) == 0 || len(r.names) > maxRoutes {
		return nil, c.Errorf("structure", "want 1 to %d routes, got %d", maxRoutes, len(r.names))
	}
	for _, name := range r.names {
		ids, err := structure.Strings(name)
		if err != nil {
			return nil, err
		}
		if len(ids) == 0 || len(ids) > maxModules {
			return nil, structure.Errorf(name, "want 1 to %d modules, got %d", maxModules, len(ids))
		}
		for _, id := range ids {
			ref, err := newModuleRef(types, id)
			if err != nil {
				return nil, err
			}
			clean, err := cleanRelative(id)
			if err != nil {
				return nil, fmt.Errorf("%s: route %.60q: %w", c.File(), name, err)
			}
			ref.path = join(dir, clean)
			r.routes[name] = append(r.routes[name], ref)
		}
	}
	return r, r.readParameters(parameters)
}

func (r *router) readParameters(c *Config) (err error) {
	if r.fallback, err = c.StringOr("default_route", ""); err != nil {
		return err
	}
	first, err := c.BoolOr("allow_empty_key", true)
	if err != nil {
		return err
	}
	if r.fallback == "" && first {
		r.fallback = r.names[0]
	}
	if r.fallback != "" && !slices.Contains(r.names, r.fallback) {
		return c.Errorf("default_route", "want one of %s, got %.60q", strings.Join(r.names, ", "), r.fallback)
	}
	if !c.Has("route_mappings") {
		return nil
	}
	mappings, err := c.Object("route_mappings")
	if err != nil {
		return err
	}
	exact := make(map[string]bool)
	for _, key := range mappings.Keys() {
		route, err := mappings.String(key, r.names...)
		if err != nil {
			return err
		}
		pair := routeKey.FindStringSubmatch(key)
		if pair == nil {
			return mappings.Errorf(key, `want a key like "('query', 'text')" or "(None, 'text')"`)
		}
		task, modality := unquote(pair[1]), unquote(pair[2])
		if modality != "" && modality != "text" || exact[task] { // images; or a mapping of just text is there
			continue
		}
		r.mapped[task], exact[task] = route, modality == "text"
	}
	return nil
}

// unquote returns "" for None.
func unquote(python string) string {
	if python == "None" {
		return ""
	}
	return strings.Trim(python, `'"`)
}

// resolve returns the route of a task; "" is no task.
func (r *router) resolve(task string) (string, error) {
	for _, key := range []string{task, ""} {
		if route, ok := r.mapped[key]; ok {
			return route, nil
		}
	}
	for _, name := range []string{task, "text"} {
		if name != "" && slices.Contains(r.names, name) {
			return name, nil
		}
	}
	if task == "" && r.fallback != "" {
		return r.fallback, nil
	}
	return "", fmt.Errorf("%w: no route for the task %q; there are %s", ErrUnsupported, task, strings.Join(r.names, ", "))
}

// Route returns the model that a task goes to, "query" or "document", or with ""
// where no task is named. It is m itself for a model without routes. It is
// closed with m.
func (m *Model) Route(task string) (*Model, error) {
	if m.router == nil {
		return m, nil
	}
	name, err := m.router.resolve(task)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.Dir, err)
	}
	return m.Routes[name], nil
}
