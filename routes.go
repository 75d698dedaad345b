package vkbert

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/vkbert/vkbert/bert"
	"github.com/vkbert/vkbert/loader"
)

// openers are the functions that open a model of a kind.
var openers = map[loader.Kind]string{
	loader.KindEmbedding:    "Open",
	loader.KindCrossEncoder: "OpenReranker",
	loader.KindSparse:       "OpenSparse",
	loader.KindMultiVector:  "OpenMultiVector",
}

// commands says which sub-commands take a model of a kind, to whoever got there by another.
var commands = map[loader.Kind]string{
	loader.KindEmbedding:    ` ("vkbert embed" and others)`,
	loader.KindCrossEncoder: ` ("vkbert rerank")`,
}

// openFiles opens a directory that must be of this kind, or a plain transformer, which can be of any but a classifier.
func openFiles(dir string, kind loader.Kind) (*loader.Model, error) {
	files, err := loader.Open(dir)
	if err != nil || files.Kind == kind {
		return files, err
	}
	is := files.Kind
	if err := files.Close(); err != nil {
		return nil, err
	}
	if is == loader.KindEmbedding { // a plain transformer opens as that where nothing says more
		if files, err = loader.OpenAs(dir, kind); err == nil {
			return files, nil
		}
	}
	if err == nil || errors.Is(err, ErrUnsupported) {
		return nil, fmt.Errorf("%w: %s is a model for %s, which vkbert.%s opens%s", ErrUnsupported, dir, is, openers[is], commands[is])
	}
	return nil, err
}

// A route is where a Router sends the texts of a task; err says that there is none.
type route struct {
	model *Model
	err   error
}

// to is the model that the texts of a task go to: this one, but for models with a Router.
func (m *Model) to(task string) (*Model, error) {
	if m.routes == nil {
		return m, nil
	}
	r, ok := m.routes[task]
	if !ok {
		_, err := m.files.Route(task)
		return nil, fmt.Errorf("%w: %w", ErrInput, err)
	}
	return r.model, r.err
}

// others are the models of the routes but this one.
func (m *Model) others() []*Model {
	var all []*Model
	for _, r := range m.routes {
		if r.model != nil && r.model != m && !slices.Contains(all, r.model) {
			all = append(all, r.model)
		}
	}
	return all
}

// openRoutes opens the model of a directory, or where it has a Router a model for each route. The model that is returned is the one for texts without a task.
func openRoutes(ctx context.Context, name string, files *loader.Model, settings bert.Options, o options) (*Model, error) {
	if files.Routes == nil {
		return openRoute(ctx, name, files, settings, o)
	}
	tasks := []string{"", "query", "document"}
	for task := range files.Routes {
		if !slices.Contains(tasks, task) {
			tasks = append(tasks, task)
		}
	}
	opened := map[*loader.Model]*Model{}
	routes := map[string]route{}
	var main *Model
	for _, task := range tasks {
		way, err := files.Route(task)
		if err != nil {
			routes[task] = route{err: err}
			continue
		}
		m, ok := opened[way]
		if !ok {
			if m, err = openRoute(ctx, name, way, settings, o); err != nil {
				for _, other := range opened {
					other.Close()
				}
				return nil, fmt.Errorf("route of the task %q: %w", task, err)
			}
			opened[way] = m
		}
		if routes[task] = (route{model: m}); main == nil {
			main = m
		}
	}
	if main == nil {
		return nil, routes[""].err
	}
	main.files, main.routes = files, routes
	return main, nil
}

// openRoute opens what one way of a text through a model needs.
func openRoute(ctx context.Context, name string, files *loader.Model, settings bert.Options, o options) (*Model, error) {
	m := &Model{name: name, files: files, log: o.logger}
	var err error
	if words, ok := files.Modules[0].(loader.SparseStaticEmbedding); ok {
		if m.words, err = bert.OpenWordWeights(ctx, words); err == nil {
			m.tokenizer, err = loader.OpenTokenizer(files)
		}
	} else {
		m.tokenizer, m.encoder, err = openParts(ctx, files, settings)
	}
	if err != nil {
		return nil, err
	}
	if err := m.setUp(ctx, o); err != nil {
		return nil, err
	}
	return m, nil
}

// info is what is known of the encoder, or of what stands in its place.
func (m *Model) info() bert.Info {
	if m.encoder != nil {
		return m.encoder.Info()
	}
	return bert.Info{Architecture: m.files.Modules[0].Kind(), Dimensions: m.words.Size(), Vocabulary: m.words.Size(), MaxTokens: unlimited, DType: "f32"}
}

// unlimited is the limit of tokens of a model that has none.
const unlimited = 1 << 30

// A way is how a call's texts go through a model.
type way struct {
	prompt prompt
	route  string // the task that a Router goes by
	task   string // the task whose adapters are used
}

// forQueries is the way of queries: the route and the prompt "query", or the task "retrieval.query" of a model with adapters.
func (m *Model) forQueries() way { return m.forTask("query", "retrieval.query") }

func (m *Model) forDocuments() way { return m.forTask("document", "retrieval.passage") }

func (m *Model) forTask(name, adapters string) way {
	w := way{route: name, prompt: m.prompts[name]}
	if slices.Contains(m.info().Tasks, adapters) {
		w.task = adapters
		if _, own := m.prompts[name]; !own {
			w.prompt = m.prompts[adapters]
		}
	}
	return w
}

// EmbedOption changes one call of [Model.EmbedWith].
type EmbedOption func(*embedOptions)

type embedOptions struct {
	task, prompt string
	text         *string
}

// WithTask chooses the task of a model that has several: the adapters of jina-embeddings-v3 ("retrieval.query", "text-matching", …; [Info].Tasks lists them), or a
// Router's route. Texts of different tasks never share a batch. Unless an option says otherwise, the prompt is the model's own for that task, if it has one.
func WithTask(task string) EmbedOption { return func(o *embedOptions) { o.task = task } }

// WithPrompt chooses the model's prompt of this name; [Info].Prompts has them.
func WithPrompt(name string) EmbedOption { return func(o *embedOptions) { o.prompt = name } }

// WithPromptText puts a text before each of the texts; "" is no prompt.
func WithPromptText(text string) EmbedOption { return func(o *embedOptions) { o.text = &text } }

// EmbedWith is [Model.EmbedBatch] with options of the call: a task, a prompt. What the model does not have is an [ErrInput].
func (m *Model) EmbedWith(ctx context.Context, texts []string, opts ...EmbedOption) ([][]float32, error) {
	w, err := m.wayOf(opts)
	if err != nil {
		return nil, err
	}
	return m.embed(ctx, texts, w)
}

// TokenizeWith returns the tokens of a text as [Model.EmbedWith] sees it.
func (m *Model) TokenizeWith(text string, opts ...EmbedOption) (Tokens, error) {
	w, err := m.wayOf(opts)
	if err != nil {
		return Tokens{}, err
	}
	return m.tokensOf(text, w)
}

func (m *Model) wayOf(opts []EmbedOption) (way, error) {
	var o embedOptions
	for _, opt := range opts {
		opt(&o)
	}
	w := way{prompt: m.defaultPrompt()}
	if o.task != "" {
		tasks := m.info().Tasks
		switch {
		case m.routes != nil:
			w.route = o.task
		case slices.Contains(tasks, o.task):
			w.task = o.task
		case len(tasks) == 0:
			return way{}, fmt.Errorf("%w: task %q: the model has no tasks", ErrInput, o.task)
		default:
			return way{}, fmt.Errorf("%w: the model has no task %q; it has %s", ErrInput, o.task, strings.Join(tasks, ", "))
		}
		if p, ok := m.prompts[o.task]; ok {
			w.prompt = p
		}
	}
	if o.prompt != "" {
		p, ok := m.prompts[o.prompt]
		if !ok {
			return way{}, fmt.Errorf("%w: the model has no prompt %q; it has %s", ErrInput, o.prompt, m.promptNames())
		}
		w.prompt = p
	}
	if o.text != nil {
		var err error
		if w.prompt, err = m.newPrompt(*o.text); err != nil {
			return way{}, err
		}
	}
	return w, nil
}
