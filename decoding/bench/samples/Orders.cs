using System;
using System.Collections.Generic;
using System.Linq;

namespace Shop
{
    public class Order
    {
        private readonly List<Line> _lines = new List<Line>();

        public string Customer { get; set; }

        public decimal Total => _lines.Sum(line => line.Price * line.Count);

        public void Add(string name, decimal price, int count = 1)
        {
            if (count < 1)
            {
                throw new ArgumentOutOfRangeException(nameof(count));
            }
            _lines.Add(new Line { Name = name, Price = price, Count = count });
        }

        public override string ToString()
        {
            var names = string.Join(", ", _lines.Select(line => line.Name));
            foreach (var line in _lines)
            {
                Console.WriteLine($"{line.Name}: {line.Count}");
            }
            return $"{Customer}: {names}";
        }

        private class Line
        {
            public string Name { get; set; }
            public decimal Price { get; set; }
            public int Count { get; set; }
        }
    }
}
