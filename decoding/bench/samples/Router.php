<?php

namespace App\Http;

use InvalidArgumentException;

/** Finds the handler of a path. */
final class Router
{
    private array $routes = [];

    public function __construct(private string $base = '/')
    {
    }

    public function add(string $method, string $path, callable $handler): self
    {
        if ($path === '') {
            throw new InvalidArgumentException('A path is needed.');
        }
        $this->routes[] = ['method' => $method, 'path' => $this->base . $path, 'handler' => $handler];

        return $this;
    }

    public function find(string $method, string $path): ?callable
    {
        foreach ($this->routes as $route) {
            if ($route['method'] === $method && $route['path'] === $path) {
                return $route['handler'];
            }
        }

        return null;
    }

    public function paths(): array
    {
        return array_map(fn (array $route) => $route['path'], $this->routes);
    }
}
