// Package recipes holds the code of docs/recipes.md, so that it is compiled.
package recipes
