package loader

import (
	"errors"
	"fmt"
	"os"
)

// Input is the first module of a model, with its files. The fields of a
// StaticEmbedding, which has neither config.json nor limits, are zero but for
// Config, which is then empty.
type Input struct {
	Config  *Config  // config.json of the transformer
	Weights *Weights // of the transformer; mapped, not read

	// MaxSeqLength is the most tokens of a text, special tokens included; 0 where
	// no file gives a limit.
	MaxSeqLength int
	// LowerCase says that texts are lower-cased before anything else. The
	// Tokenizer does it.
	LowerCase bool
	// MultiVector says how queries and documents differ; nil but for a
	// KindMultiVector.
	MultiVector *MultiVector

	folder          string  // slash-separated, relative to Dir
	bare            bool    // no special tokens are added
	ownLimit        bool    // the truncation of tokenizer.json counts
	tokenizerConfig *Config // empty if there is no such file
}

// Model is an opened model directory: everything but the tokenizer, which
// [OpenTokenizer] opens. Its fields must not be changed.
type Model struct {
	Dir     string
	Kind    Kind
	Input            // of the default route where there are several
	Modules []Module // in order: a Transformer or another input, then any of the others

	Prompts       map[string]string // by name, for example "query"; never nil
	DefaultPrompt string            // the name of the prompt to use where none is asked for; "" for none
	Similarity    string            // cosine, dot, euclidean or manhattan; maxsim or mean_maxsim of a KindMultiVector
	TruncateDim   int               // keep that many values of a vector; 0 for all
	MaxActive     int               // keep that many values of a sparse vector, the largest; 0 for all

	// CrossEncoder says what the scores are; nil but for a KindCrossEncoder.
	CrossEncoder *CrossEncoder
	// Routes are the ways through a model with a Router, by name; nil where there
	// is one way. [Model.Route] finds that of a task.
	Routes map[string]*Model

	router *router
}

// The configurations of the Transformer module, of which the first that is there
// counts. Releases since 5.4 write the first whatever the architecture.
var transformerConfigs = []string{
	"sentence_bert_config.json",
	"sentence_roberta_config.json",
	"sentence_distilbert_config.json",
	"sentence_camembert_config.json",
	"sentence_albert_config.json",
	"sentence_xlm-roberta_config.json",
	"sentence_xlnet_config.json",
}

// Open reads a model directory: configuration, modules and the headers of the
// weights. No tensor is read. The caller closes the model.
func Open(dir string) (*Model, error) { return OpenAs(dir, "") }

// OpenAs is Open for one kind of model. A directory made for another is an
// ErrUnsupported; one without modules.json gets the modules of the kind. With ""
// the files decide.
func OpenAs(dir string, kind Kind) (_ *Model, err error) {
	info, err := os.Stat(dir)
	if err != nil {
		return nil, notFound(err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("%w: %s: want a model directory", ErrNotFound, dir)
	}
	o := &opener{root: dir, modules: make(map[moduleRef]Module), inputs: make(map[moduleRef]*Input)}
	defer func() {
		if err != nil {
			err = errors.Join(err, o.close())
		}
	}()
	if o.sentence, err = optionalConfig(dir, sentenceFile); err != nil {
		return nil, err
	}
	refs, err := readModules(dir)
	if err != nil {
		return nil, err
	}
	if o.kind, err = o.chooseKind(kind, refs); err != nil {
		return nil, err
	}
	if refs == nil {
		return o.plain()
	}
	return o.routed(refs)
}

// Close unmaps the weights, those of modules and routes too. It may be called
// more than once.
func (m *Model) Close() error {
	err := closeModules(m.Modules)
	if m.Weights != nil {
		err = errors.Join(err, m.Weights.Close())
	}
	for _, route := range m.Routes {
		if route != m {
			err = errors.Join(err, route.Close())
		}
	}
	return err
}

// Dim returns the length of a vector as the modules make it, before TruncateDim.
func (m *Model) Dim() int {
	dim := 0
	for _, module := range m.Modules {
		switch module := module.(type) {
		case StaticEmbedding:
			dim = module.Dim
		case SparseStaticEmbedding:
			dim = module.Size
		case Pooling:
			dim = module.Dim * len(module.Modes)
		case Dense:
			dim = module.Out
		}
	}
	return dim
}

// readModules reads modules.json; nil if there is none.
func readModules(dir string) ([]moduleRef, error) {
	path, err := within(dir, modulesFile)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	data, err := readBounded(path, maxConfig)
	if err != nil {
		return nil, err
	}
	return parseModules(path, data)
}
