// Package expression computes a resource from those of other containers, exactly as it is written: numbers, percentages,
// quantities, the variables cpu and memory, + - * /, parentheses, min() and max().
package expression

import (
	"fmt"
	"math/big"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Expression is a text that was understood.
type Expression struct {
	root node
	uses map[corev1.ResourceName]bool
}

// node is a part of an expression.
type node func(values Values) (*big.Rat, error)

// Values are the variables.
type Values map[corev1.ResourceName]*big.Rat

// Parse reads an expression; the error says what is wrong, and where.
func Parse(text string) (Expression, error) {
	p := &parser{rest: text, length: len(text), uses: map[corev1.ResourceName]bool{}}
	root, err := p.sum()
	if err == nil && p.peek() != 0 {
		err = fmt.Errorf("%q is left over; an operator is missing before it", p.rest)
	}
	if err != nil {
		return Expression{}, fmt.Errorf("at character %d: %w", p.at()+1, err)
	}
	return Expression{root: root, uses: p.uses}, nil
}

// Uses are the variables that the expression depends on.
func (e Expression) Uses(name corev1.ResourceName) bool { return e.uses[name] }

// Compute returns the result as an amount of the resource, rounded up to what Kubernetes can give: a thousandth of a cpu, a
// byte of memory.
func (e Expression) Compute(of corev1.ResourceName, values Values) (resource.Quantity, error) {
	result, err := e.root(values)
	if err != nil {
		return resource.Quantity{}, err
	}
	if result.Sign() < 0 {
		return resource.Quantity{}, fmt.Errorf("the result is %s, and must not be negative; wrap the expression in max(0, ...)",
			result.FloatString(3))
	}
	if of == corev1.ResourceCPU {
		n, err := roundUp(new(big.Rat).Mul(result, big.NewRat(1000, 1)))
		return *resource.NewMilliQuantity(n, resource.DecimalSI), err
	}
	n, err := roundUp(result)
	return *resource.NewQuantity(n, resource.BinarySI), err
}

func roundUp(r *big.Rat) (int64, error) {
	quotient, remainder := new(big.Int).QuoRem(r.Num(), r.Denom(), new(big.Int))
	if remainder.Sign() > 0 {
		quotient.Add(quotient, big.NewInt(1))
	}
	if !quotient.IsInt64() {
		return 0, fmt.Errorf("the result %s is larger than any node", quotient)
	}
	return quotient.Int64(), nil
}

// Rat is a quantity as a number.
func Rat(q resource.Quantity) *big.Rat {
	r, ok := new(big.Rat).SetString(q.AsDec().String())
	if !ok {
		return new(big.Rat)
	}
	return r
}

type parser struct {
	rest   string
	length int
	uses   map[corev1.ResourceName]bool
}

func (p *parser) at() int { return p.length - len(p.rest) }

// peek is the next character that is no space; 0 at the end.
func (p *parser) peek() byte {
	p.rest = strings.TrimLeft(p.rest, " \t\n")
	if p.rest == "" {
		return 0
	}
	return p.rest[0]
}

func (p *parser) take(c byte) bool {
	if p.peek() != c {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

func (p *parser) sum() (node, error) {
	return p.chain("+-", p.product)
}

func (p *parser) product() (node, error) {
	return p.chain("*/", p.factor)
}

// chain reads operands of one rank with the operators between them.
func (p *parser) chain(operators string, operand func() (node, error)) (node, error) {
	left, err := operand()
	for err == nil && p.peek() != 0 && strings.IndexByte(operators, p.peek()) >= 0 {
		operator := p.peek()
		p.take(operator)
		var right node
		if right, err = operand(); err == nil {
			left = binary(operator, left, right)
		}
	}
	return left, err
}

func binary(operator byte, left, right node) node {
	return func(values Values) (*big.Rat, error) {
		a, err := left(values)
		if err != nil {
			return nil, err
		}
		b, err := right(values)
		if err != nil {
			return nil, err
		}
		switch operator {
		case '+':
			return new(big.Rat).Add(a, b), nil
		case '-':
			return new(big.Rat).Sub(a, b), nil
		case '*':
			return new(big.Rat).Mul(a, b), nil
		}
		if b.Sign() == 0 {
			return nil, fmt.Errorf("it divides by 0")
		}
		return new(big.Rat).Quo(a, b), nil
	}
}

func (p *parser) factor() (node, error) {
	switch c := p.peek(); {
	case c == 0:
		return nil, fmt.Errorf("a number, cpu, memory, min( or max( is missing")
	case p.take('-'):
		inner, err := p.factor()
		if err != nil {
			return nil, err
		}
		return binary('-', number(new(big.Rat)), inner), nil
	case p.take('('):
		inner, err := p.sum()
		if err == nil && !p.take(')') {
			err = fmt.Errorf("a ) is missing")
		}
		return inner, err
	case c >= '0' && c <= '9' || c == '.':
		return p.number()
	case letter(c):
		return p.word()
	default:
		return nil, fmt.Errorf("%q is no part of an expression", string(c))
	}
}

func letter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }

func number(value *big.Rat) node {
	return func(Values) (*big.Rat, error) { return value, nil }
}

// number reads 3, 0.5, 50%, 200m, 100Mi.
func (p *parser) number() (node, error) {
	end := 0
	for end < len(p.rest) && (letter(p.rest[end]) || p.rest[end] >= '0' && p.rest[end] <= '9' || p.rest[end] == '.') {
		end++
	}
	text := p.rest[:end]
	q, err := resource.ParseQuantity(text)
	if err != nil {
		return nil, fmt.Errorf("%q is neither a number nor a quantity such as 200m or 100Mi", text)
	}
	value := Rat(q)
	p.rest = p.rest[end:]
	if p.take('%') {
		value = value.Quo(value, big.NewRat(100, 1))
	}
	return number(value), nil
}

// word reads a variable or a function.
func (p *parser) word() (node, error) {
	end := 0
	for end < len(p.rest) && letter(p.rest[end]) {
		end++
	}
	switch name := p.rest[:end]; name {
	case string(corev1.ResourceCPU), string(corev1.ResourceMemory):
		p.rest = p.rest[end:]
		variable := corev1.ResourceName(name)
		p.uses[variable] = true
		return func(values Values) (*big.Rat, error) {
			if value := values[variable]; value != nil {
				return value, nil
			}
			return nil, fmt.Errorf("%s is not known", variable)
		}, nil
	case "min":
		p.rest = p.rest[end:]
		return p.extreme(-1)
	case "max":
		p.rest = p.rest[end:]
		return p.extreme(1)
	default:
		return nil, fmt.Errorf("%q is not known; there are cpu, memory, min() and max()", name)
	}
}

// extreme reads the arguments of min (-1) and max (1).
func (p *parser) extreme(sign int) (node, error) {
	if !p.take('(') {
		return nil, fmt.Errorf("a ( is missing behind min and max")
	}
	var all []node
	for {
		one, err := p.sum()
		if err != nil {
			return nil, err
		}
		all = append(all, one)
		if p.take(')') {
			break
		}
		if !p.take(',') {
			return nil, fmt.Errorf("a , or a ) is missing")
		}
	}
	return func(values Values) (*big.Rat, error) {
		var best *big.Rat
		for _, one := range all {
			value, err := one(values)
			if err != nil {
				return nil, err
			}
			if best == nil || value.Cmp(best) == sign {
				best = value
			}
		}
		return best, nil
	}, nil
}
