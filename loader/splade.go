package loader

// SpladePool is how SpladePooling joins the tokens of a text.
type SpladePool string

// The two ways.
const (
	SpladeMax SpladePool = "max"
	SpladeSum SpladePool = "sum"
)

// SpladePooling makes one value a word of the vocabulary of the logits of a
// masked-language head: log(1 + relu(logit)), with Twice log(1 + that), joined
// over the tokens.
type SpladePooling struct {
	Pool  SpladePool
	Twice bool // log1p_relu
}

// Kind is the class name.
func (SpladePooling) Kind() string { return "SpladePooling" }

func loadSplade(o *opener, dir string) (Module, error) {
	c, err := configWithin(o.root, join(dir, "config.json"))
	if err != nil {
		return nil, err
	}
	return parseSplade(c)
}

func parseSplade(c *Config) (SpladePooling, error) {
	f := c.Fields()
	pool := f.StringOr("pooling_strategy", string(SpladeMax), string(SpladeMax), string(SpladeSum))
	function := f.StringOr("activation_function", "relu", "relu", "log1p_relu")
	return SpladePooling{Pool: SpladePool(pool), Twice: function == "log1p_relu"}, f.Err()
}
